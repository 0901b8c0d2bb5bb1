-- indexes without names
ADD INDEX (b), ADD KEY (a, b), ADD UNIQUE (u, a)
