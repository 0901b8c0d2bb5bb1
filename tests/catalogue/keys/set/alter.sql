-- the key is a SET
ADD COLUMN z INT
