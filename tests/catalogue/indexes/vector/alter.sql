-- a VECTOR column with data and an index on another
ADD KEY (a)
