-- a SPATIAL index stays
ADD COLUMN z INT
