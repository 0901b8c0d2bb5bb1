-- a child points to a unique column
ADD COLUMN z INT
