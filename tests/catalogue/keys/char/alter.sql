-- the key is a CHAR
ADD COLUMN z INT
