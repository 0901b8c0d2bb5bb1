-- a child with cascades points to the table
ADD COLUMN z INT
