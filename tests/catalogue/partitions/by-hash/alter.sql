-- a table becomes partitioned by hash
PARTITION BY HASH (id) PARTITIONS 5
