-- the key is a BIT
ADD COLUMN z INT
