-- a foreign key to itself
ADD COLUMN z INT
