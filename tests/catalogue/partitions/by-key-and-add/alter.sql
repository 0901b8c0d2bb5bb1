-- partitioned, with a new column
ADD COLUMN z INT PARTITION BY KEY (id) PARTITIONS 3
