-- a column is added in the middle
ADD COLUMN c VARCHAR(10) DEFAULT 'x' AFTER a
