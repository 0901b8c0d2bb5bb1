-- hash partitions are added
ADD PARTITION PARTITIONS 2
