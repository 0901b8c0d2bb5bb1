CREATE TABLE t (id INT PRIMARY KEY, e ENUM('', 'A b', 'c'));
INSERT INTO t VALUES (1, NULL), (2, 'c'), (3, '');
