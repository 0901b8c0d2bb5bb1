-- a view on a column that is dropped
DROP COLUMN a
