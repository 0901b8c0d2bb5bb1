-- primary keys swap
ADD COLUMN z INT
