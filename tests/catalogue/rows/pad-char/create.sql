CREATE TABLE t (k CHAR(6) PRIMARY KEY, a CHAR(8));
INSERT INTO t VALUES ('a', 'x'), ('b ', ''), ('c', NULL), ('d', 'full8888');
