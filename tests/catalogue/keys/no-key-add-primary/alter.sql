-- no key, the ALTER adds one
ADD PRIMARY KEY (a)
