-- the key is a DATETIME(3)
ADD COLUMN z INT
