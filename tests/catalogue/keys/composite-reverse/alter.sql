-- a composite key in another order than the columns
ADD COLUMN z INT
