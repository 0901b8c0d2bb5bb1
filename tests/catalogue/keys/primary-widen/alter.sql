-- a column joins the primary key
DROP PRIMARY KEY, ADD PRIMARY KEY (id, u)
