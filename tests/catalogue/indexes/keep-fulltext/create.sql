CREATE TABLE t (id INT PRIMARY KEY, b TEXT, FULLTEXT KEY ft (b));
INSERT INTO t VALUES (1, 'quick brown fox'), (2, 'lazy dog'), (3, NULL), (4, 'brown bear');
