-- CHECK constraints keep their names
ADD COLUMN z INT
