CREATE TABLE t (id INT PRIMARY KEY, c ENUM('a','bb'));
INSERT INTO t VALUES (1, 'a'), (2, 'bb'), (3, 'a'), (4, NULL);
