-- a trigger of another table that writes this one
ADD COLUMN z INT DEFAULT 1 FIRST
