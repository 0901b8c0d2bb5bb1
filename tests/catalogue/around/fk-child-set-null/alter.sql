-- a child with SET NULL points to the table
ADD COLUMN z INT
