-- a view on a view, with a check option
ADD COLUMN z INT FIRST
