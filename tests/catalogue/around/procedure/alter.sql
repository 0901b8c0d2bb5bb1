-- a procedure that writes the table
ADD COLUMN z INT
