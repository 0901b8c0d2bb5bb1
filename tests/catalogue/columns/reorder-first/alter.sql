-- a column moves to the front
MODIFY COLUMN b VARCHAR(40) FIRST
