CREATE TABLE t (id INT PRIMARY KEY, c ENUM('a','b'));
INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'a'), (4, NULL);
