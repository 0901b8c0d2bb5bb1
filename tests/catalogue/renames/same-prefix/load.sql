UPDATE t SET id2 = 99 WHERE id = 2;
UPDATE t SET id = 30 WHERE id = 3;
-- later
INSERT INTO t VALUES (6, 6, 6, 6);
DELETE FROM t WHERE id = 1;
