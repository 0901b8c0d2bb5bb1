-- the key is an ENUM
ADD COLUMN z INT
