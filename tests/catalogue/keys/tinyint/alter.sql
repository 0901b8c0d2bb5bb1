-- the key is a TINYINT
ADD COLUMN z INT
