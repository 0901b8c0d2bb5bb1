UPDATE t SET a = 9 WHERE id = 2;
INSERT INTO t VALUES (6, 6, 'new');
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 30 WHERE id = 3;
-- later
INSERT INTO t VALUES (1, 11, 'back');
UPDATE t SET b = 'late' WHERE id = 4;
DELETE FROM t WHERE id = 6;
