-- another primary key for a table that is partitioned by its primary key
DROP PRIMARY KEY, ADD PRIMARY KEY (b)
