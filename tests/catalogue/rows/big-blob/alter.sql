-- a row of 16 MB
ADD COLUMN z INT
