-- a trigger that reads its own table
ADD COLUMN z INT
