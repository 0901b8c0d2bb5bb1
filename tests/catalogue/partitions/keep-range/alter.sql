-- a table partitioned by range
ADD COLUMN z INT
