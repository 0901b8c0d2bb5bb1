-- DOUBLE and FLOAT are rounded to fewer digits
MODIFY a DOUBLE(9,2), MODIFY b FLOAT(7,3), MODIFY c DOUBLE UNSIGNED
