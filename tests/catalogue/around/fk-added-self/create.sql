CREATE TABLE t (id INT PRIMARY KEY, up INT, a INT);
INSERT INTO t VALUES (1, NULL, 1), (2, 1, 2), (3, 1, 3), (4, 4, 4), (5, 2, 5);
