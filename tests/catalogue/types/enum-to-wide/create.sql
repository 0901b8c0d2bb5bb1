CREATE TABLE t (id INT PRIMARY KEY, e ENUM('c', 'b'), s SET('c', 'b')) CHARSET latin1;
INSERT INTO t VALUES (1, 'b', 'b'), (2, 'c', 'c');
