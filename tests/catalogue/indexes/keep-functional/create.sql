CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(20), KEY f ((a + 1)), UNIQUE KEY g ((LOWER(b))));
INSERT INTO t VALUES (1, 1, 'A'), (2, 2, 'B'), (3, 3, NULL), (4, 4, 'D');
