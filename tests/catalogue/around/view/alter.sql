-- a view on the table
ADD COLUMN z INT
