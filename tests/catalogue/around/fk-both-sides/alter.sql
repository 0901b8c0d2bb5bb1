-- a parent above and a child below
ADD COLUMN z INT
