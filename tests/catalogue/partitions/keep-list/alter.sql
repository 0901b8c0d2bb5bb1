-- a table partitioned by list
ADD COLUMN z INT
