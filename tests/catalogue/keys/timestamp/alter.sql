-- the key is a TIMESTAMP
ADD COLUMN z INT
