-- a column joins the only unique key
DROP PRIMARY KEY, ADD PRIMARY KEY (id, u), DROP KEY u
