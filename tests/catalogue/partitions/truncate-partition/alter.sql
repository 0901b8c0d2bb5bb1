-- a partition is emptied
TRUNCATE PARTITION p1
