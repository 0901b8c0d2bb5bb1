-- a default from a sequence
ADD COLUMN z INT
