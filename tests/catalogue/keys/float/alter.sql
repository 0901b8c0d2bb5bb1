-- the key is a FLOAT
ADD COLUMN z INT
