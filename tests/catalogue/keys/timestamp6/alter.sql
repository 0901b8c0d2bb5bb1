-- the key is a TIMESTAMP(6)
ADD COLUMN z INT
