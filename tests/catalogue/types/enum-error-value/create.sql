CREATE TABLE t (id INT PRIMARY KEY, c ENUM('a','b'));
INSERT INTO t VALUES (1, 'a'), (2, 'x'), (3, ''), (4, NULL);
