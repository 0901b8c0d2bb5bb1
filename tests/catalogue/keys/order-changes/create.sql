CREATE TABLE t (a INT, b INT, v INT, PRIMARY KEY (a, b));
INSERT INTO t VALUES (1, 9, 1), (2, 8, 2), (3, 7, 3), (1, 8, 4), (2, 7, 5);
