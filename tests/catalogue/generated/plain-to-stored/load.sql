UPDATE t SET a = 7, p = 1 WHERE id = 2;
INSERT INTO t VALUES (6, 6, 6);
-- later
UPDATE t SET id = 30 WHERE id = 3;
DELETE FROM t WHERE id = 1;
