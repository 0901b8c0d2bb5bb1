-- a column becomes invisible
MODIFY a INT INVISIBLE
