-- a trigger on a column that is dropped
DROP COLUMN b
