-- the key is a UUID in BINARY(16)
ADD COLUMN z INT
