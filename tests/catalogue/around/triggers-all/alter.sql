-- six triggers
ADD COLUMN z INT
