-- several columns are dropped
DROP a, DROP COLUMN b
