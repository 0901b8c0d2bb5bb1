-- the numbers of a partitioned table are used up
ADD INDEX (d)
