-- a function that reads the table
ADD COLUMN z INT
