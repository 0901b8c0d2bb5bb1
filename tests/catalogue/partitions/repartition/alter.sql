-- partitioned otherwise
PARTITION BY HASH (id) PARTITIONS 3
