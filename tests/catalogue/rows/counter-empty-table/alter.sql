-- the counter of an empty table
ADD COLUMN z INT
