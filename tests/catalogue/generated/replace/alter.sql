-- a generated column is dropped and one of its name added as plain
DROP COLUMN s, ADD COLUMN s INT DEFAULT 4
