-- a partition is exchanged with a table
EXCHANGE PARTITION p1 WITH TABLE o
