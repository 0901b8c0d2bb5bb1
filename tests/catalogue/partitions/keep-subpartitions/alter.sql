-- subpartitions
ADD COLUMN z INT
