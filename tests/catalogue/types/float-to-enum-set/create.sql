CREATE TABLE t (id INT PRIMARY KEY, a FLOAT, b DOUBLE, c DECIMAL(5,2));
INSERT INTO t VALUES (1, 2, 3, 1), (2, 3, 1, 2), (3, NULL, NULL, NULL), (4, 0.1, 4, 3), (5, 1.5, 7, 3), (6, 2.5, 1.5, 1.5), (7, 3.4, 2.5, 2.5), (8, -1, 5.9, 0.4);
