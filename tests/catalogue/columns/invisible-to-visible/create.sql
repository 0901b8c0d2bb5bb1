CREATE TABLE t (id INT PRIMARY KEY, a INT INVISIBLE, b INT);
INSERT INTO t (id, a, b) VALUES (1, 11, 1), (2, 22, 2), (3, 33, 3), (4, NULL, 4), (5, 5, 5);
