-- the primary key moves to another unique column
DROP PRIMARY KEY, ADD PRIMARY KEY (u), ADD UNIQUE KEY (id)
