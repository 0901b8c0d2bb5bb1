-- a composite key
ADD COLUMN z INT
