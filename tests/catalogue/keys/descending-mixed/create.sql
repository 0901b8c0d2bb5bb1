CREATE TABLE t (a INT, b VARCHAR(10), v INT, PRIMARY KEY (a DESC, b));
INSERT INTO t VALUES (1, 'a', 0), (1, 'b', 1), (2, 'a', 2), (0, 'z', 3), (-5, '', 4), (2, 'B', 5);
