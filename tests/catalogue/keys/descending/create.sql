CREATE TABLE t (k INT, v INT, PRIMARY KEY (k DESC));
INSERT INTO t VALUES (1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5);
