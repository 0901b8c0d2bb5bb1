-- a column that a generated one uses is dropped
DROP COLUMN a
