CREATE TABLE t (id INT PRIMARY KEY, a INT, UNIQUE KEY (a));
INSERT INTO t VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6);
