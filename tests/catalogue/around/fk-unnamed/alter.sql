-- a foreign key that the server named
ADD COLUMN z INT
