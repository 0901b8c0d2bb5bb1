-- a trigger that refuses
ADD COLUMN z INT
