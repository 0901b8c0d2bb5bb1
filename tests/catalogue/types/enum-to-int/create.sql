CREATE TABLE t (id INT PRIMARY KEY, c ENUM('5','7'));
INSERT INTO t VALUES (1, '5'), (2, '7'), (3, '5'), (4, NULL);
