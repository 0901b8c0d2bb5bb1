-- the order of indexes is the server's
ADD UNIQUE KEY z1 (u, id), ADD KEY z2 (u), DROP KEY a, ADD KEY a (a, u)
