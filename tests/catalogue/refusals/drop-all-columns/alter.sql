-- all columns are dropped
DROP COLUMN id
