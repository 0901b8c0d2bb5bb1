-- the key is not the first column
ADD COLUMN z INT
