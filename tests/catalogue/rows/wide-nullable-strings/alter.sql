-- ninety nullable strings
ADD COLUMN z INT
