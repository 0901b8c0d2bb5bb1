-- the columns of the key change their order
DROP PRIMARY KEY, ADD PRIMARY KEY (b, a)
