-- the key is a DATETIME(6)
ADD COLUMN z INT
