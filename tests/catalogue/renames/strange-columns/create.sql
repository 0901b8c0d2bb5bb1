CREATE TABLE t (`id, ``x` INT PRIMARY KEY, `a.b` INT, `b``,c` INT);
INSERT INTO t VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4), (5, NULL, NULL);
