-- the key is a DOUBLE
ADD COLUMN z INT
