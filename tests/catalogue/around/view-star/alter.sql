-- a view made with SELECT *
ADD COLUMN z INT
