-- a row that fits no partition
PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10))
