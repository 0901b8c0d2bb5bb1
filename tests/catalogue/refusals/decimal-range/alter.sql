-- a decimal out of range
MODIFY a DECIMAL(5,2)
