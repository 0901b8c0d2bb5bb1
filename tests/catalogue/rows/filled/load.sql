INSERT INTO t VALUES (1, 1), (2, 2), (3, 3), (4, 4);
-- later
INSERT INTO t VALUES (5, 5);
DELETE FROM t WHERE id = 1;
