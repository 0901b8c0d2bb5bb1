-- one column is dropped and changed
ADD COLUMN b INT, DROP COLUMN a, CHANGE COLUMN a c DATE NOT NULL
