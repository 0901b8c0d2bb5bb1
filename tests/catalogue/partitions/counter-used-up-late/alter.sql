-- the last number comes late, and the table becomes partitioned
PARTITION BY KEY () PARTITIONS 3
