-- the primary key is invisible
ADD COLUMN z INT
