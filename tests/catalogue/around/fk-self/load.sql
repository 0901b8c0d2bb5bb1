INSERT INTO t VALUES (5, 4);
UPDATE t SET up = 5 WHERE id = 3;
-- later
DELETE FROM t WHERE id = 3;
