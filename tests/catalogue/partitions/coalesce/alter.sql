-- hash partitions are merged
COALESCE PARTITION 2
