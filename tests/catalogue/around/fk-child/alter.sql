-- a child points to the table
ADD COLUMN z INT
