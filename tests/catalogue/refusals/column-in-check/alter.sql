-- a column that a CHECK uses is dropped
DROP COLUMN a
