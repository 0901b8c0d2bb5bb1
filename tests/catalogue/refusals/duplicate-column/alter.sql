-- a column that is there already
ADD COLUMN a INT
