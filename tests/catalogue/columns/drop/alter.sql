-- a column is dropped
DROP COLUMN a
