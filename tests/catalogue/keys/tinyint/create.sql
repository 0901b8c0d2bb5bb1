CREATE TABLE t (k TINYINT, v INT, PRIMARY KEY (k));
INSERT INTO t VALUES (-128, 0), (127, 1), (0, 2), (1, 3), (-1, 4), (5, 5);
