-- a text with a point becomes a whole number, in strict mode
MODIFY a INT
