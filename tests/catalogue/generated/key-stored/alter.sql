-- the primary key is a stored generated column
ADD COLUMN z INT
