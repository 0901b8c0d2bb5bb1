-- rows are deleted and come back
ADD COLUMN z INT
