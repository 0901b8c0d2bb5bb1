-- a table partitioned by key
ADD COLUMN z INT
