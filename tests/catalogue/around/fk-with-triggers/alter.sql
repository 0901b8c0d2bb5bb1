-- triggers and a child
ADD COLUMN z INT
