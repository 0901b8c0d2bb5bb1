-- a virtual column is dropped
DROP COLUMN v
