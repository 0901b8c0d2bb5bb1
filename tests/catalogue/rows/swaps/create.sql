CREATE TABLE t (id INT PRIMARY KEY, u INT, w VARCHAR(5), UNIQUE KEY (u), UNIQUE KEY (w));
INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c'), (4, 4, 'd'), (5, 5, NULL), (6, NULL, 'f');
