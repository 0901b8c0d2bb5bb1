-- the column that a child points to is dropped
DROP COLUMN u
