-- a trigger before INSERT
ADD COLUMN z INT
