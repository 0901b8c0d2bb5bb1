-- a negative FLOAT loses its sign
MODIFY a FLOAT UNSIGNED
