-- the unique key becomes the primary one
DROP KEY k, ADD PRIMARY KEY (a)
