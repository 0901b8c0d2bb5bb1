CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(5));
INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e');
