CREATE TABLE t (k CHAR(10), v INT, PRIMARY KEY (k));
INSERT INTO t VALUES ('a', 0), ('B', 1), ('c', 2), ('ä1', 3), ('E', 4), ('', 5);
