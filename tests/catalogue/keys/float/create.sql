CREATE TABLE t (k FLOAT, v INT, PRIMARY KEY (k));
INSERT INTO t VALUES (0.1, 0), (1.5, 1), (-1e30, 2), (0, 3), (3.25, 4), (7.125, 5);
