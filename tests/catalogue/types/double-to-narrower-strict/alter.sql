-- a DOUBLE does not fit with fewer digits
MODIFY a DOUBLE(9,2)
