CREATE TABLE t (id INT PRIMARY KEY, c ENUM('a','b','c'));
INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, NULL);
