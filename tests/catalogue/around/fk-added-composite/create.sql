CREATE TABLE p (id INT PRIMARY KEY, x INT, y VARCHAR(20), UNIQUE KEY xy (x, y));
INSERT INTO p VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c'), (4, 4, 'd');
CREATE TABLE t (id INT PRIMARY KEY, px INT, py VARCHAR(20), a INT, KEY (a));
INSERT INTO t VALUES (1, 1, 'a', 1), (2, 2, NULL, 2), (3, NULL, 'zz', 3), (4, 4, 'd', 4);
