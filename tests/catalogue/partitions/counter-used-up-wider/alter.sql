-- the numbers of a partitioned table are used up, and the column becomes wider
MODIFY id SMALLINT NOT NULL AUTO_INCREMENT
