CREATE TABLE t (id INT PRIMARY KEY, c SET('a','b','c'));
INSERT INTO t VALUES (1, 'a'), (2, 'b,a'), (3, 'a,c'), (4, NULL);
