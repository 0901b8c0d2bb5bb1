-- the key column is dropped, another takes over
DROP COLUMN id, ADD PRIMARY KEY (v)
