-- a unique key that lacks the partitioning column
PARTITION BY HASH (a) PARTITIONS 2
