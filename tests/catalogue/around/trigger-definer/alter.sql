-- a trigger with another definer
ADD COLUMN z INT
