-- the key is a TIME
ADD COLUMN z INT
