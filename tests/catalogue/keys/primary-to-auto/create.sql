CREATE TABLE t (name VARCHAR(20) PRIMARY KEY, v INT);
INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3);
