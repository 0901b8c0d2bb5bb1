-- the counter is ahead of the highest row
ADD COLUMN z INT
