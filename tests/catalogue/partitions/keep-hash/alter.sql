-- a table partitioned by hash
ADD COLUMN z INT
