-- a partition is dropped with its rows
DROP PARTITION p1
