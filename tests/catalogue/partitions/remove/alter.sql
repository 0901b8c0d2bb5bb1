-- partitioning is removed
REMOVE PARTITIONING
