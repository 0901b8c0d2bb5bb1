CREATE TABLE t (x INT DEFAULT 1, k INT, v INT, PRIMARY KEY (k));
INSERT INTO t VALUES (1, 1, 0), (1, 2, 1), (1, 3, 2), (1, 4, 3), (1, 5, 4), (1, 6, 5);
