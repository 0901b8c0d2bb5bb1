CREATE TABLE t (k SET('a','b','c','d'), v INT, PRIMARY KEY (k));
INSERT INTO t VALUES ('a', 0), ('b', 1), ('a,b', 2), ('c', 3), ('', 4), ('a,b,c', 5);
