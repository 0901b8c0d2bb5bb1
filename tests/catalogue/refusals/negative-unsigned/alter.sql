-- a negative number into UNSIGNED
MODIFY a INT UNSIGNED
