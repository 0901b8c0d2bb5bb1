-- one row
ADD COLUMN z INT
