-- the key is a DECIMAL
ADD COLUMN z INT
