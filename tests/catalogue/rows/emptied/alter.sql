-- a table that is emptied meanwhile
ADD COLUMN z INT
