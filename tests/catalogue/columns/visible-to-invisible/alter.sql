-- a column becomes invisible
ALTER COLUMN a SET INVISIBLE
