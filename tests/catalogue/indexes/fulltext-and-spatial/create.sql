CREATE TABLE t (id INT PRIMARY KEY, b TEXT, c VARCHAR(60), p POINT NOT NULL DEFAULT (POINT(1, 1)), SPATIAL KEY sp (p), FULLTEXT KEY ft (b));
INSERT INTO t (id, b, c) VALUES (1, 'quick brown fox', 'red apple'), (2, 'lazy dog', 'green apple'), (3, NULL, 'pear'), (4, 'brown bear', NULL), (5, 'brown brown brown', 'apple apple'), (6, 'dog and bear', 'plum');
