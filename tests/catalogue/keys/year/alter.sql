-- the key is a YEAR
ADD COLUMN z INT
