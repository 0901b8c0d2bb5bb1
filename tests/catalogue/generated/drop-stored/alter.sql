-- a stored column is dropped
DROP COLUMN s
