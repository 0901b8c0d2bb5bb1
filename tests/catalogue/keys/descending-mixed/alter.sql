-- a key that goes both ways
ADD COLUMN z INT
