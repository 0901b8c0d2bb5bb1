CREATE TABLE t (k ENUM('a','b','c','d') PRIMARY KEY, v INT);
INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3);
