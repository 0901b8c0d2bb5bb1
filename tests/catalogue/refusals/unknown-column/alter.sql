-- a column that is not there
DROP COLUMN nothing
