-- a trigger with a sql_mode of its own
ADD COLUMN z INT
