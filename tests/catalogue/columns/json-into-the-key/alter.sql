-- a JSON column becomes a part of the primary key, and a row has NULL there
DROP PRIMARY KEY, ADD PRIMARY KEY (q(4))
