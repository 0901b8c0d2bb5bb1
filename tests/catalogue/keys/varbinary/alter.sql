-- the key is a VARBINARY
ADD COLUMN z INT
