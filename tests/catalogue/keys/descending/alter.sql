-- a descending key
ADD COLUMN z INT
