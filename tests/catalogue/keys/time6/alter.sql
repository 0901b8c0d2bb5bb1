-- the key is a TIME(6)
ADD COLUMN z INT
