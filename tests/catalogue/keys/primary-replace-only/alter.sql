-- the only key is replaced by another column
DROP PRIMARY KEY, ADD PRIMARY KEY (v)
