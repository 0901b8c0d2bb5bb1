-- rows that are there already when their chunk is copied, NULL first, and a column that an UPDATE sets to the present time
ADD COLUMN u TIMESTAMP(1) NOT NULL DEFAULT '2020-02-02 02:02:02' ON UPDATE CURRENT_TIMESTAMP(1), MODIFY c SMALLINT UNSIGNED NULL DEFAULT 22
