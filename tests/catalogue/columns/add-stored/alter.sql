-- a stored generated column
ADD COLUMN c VARCHAR(60) GENERATED ALWAYS AS (CONCAT(IFNULL(b, '-'), '/', u)) STORED
