CREATE TABLE t (id INT NOT NULL, a INT, b VARCHAR(20), PRIMARY KEY (id)) ;
INSERT INTO t VALUES (1, 1, 'a'), (5, 2, 'b'), (11, 3, 'c'), (15, 4, 'd'), (21, 5, 'e'), (25, 6, 'f');
