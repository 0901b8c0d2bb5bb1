-- every column is in the key
ADD COLUMN z INT
