-- the key is a UUID
ADD COLUMN z INT
