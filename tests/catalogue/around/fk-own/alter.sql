-- a foreign key of its own stays
ADD COLUMN z INT
