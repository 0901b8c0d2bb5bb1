CREATE TABLE t (a INT NOT NULL, b VARCHAR(10), UNIQUE KEY k (a));
INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, NULL), (4, 'z'), (5, 'w');
