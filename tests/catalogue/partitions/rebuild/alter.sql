-- partitions are rebuilt
REBUILD PARTITION p0, p2
