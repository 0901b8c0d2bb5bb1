INSERT INTO t VALUES (6, 'new');
UPDATE t SET b = 'c' WHERE a = 2;
UPDATE t SET a = 30 WHERE a = 3;
DELETE FROM t WHERE a = 1;
-- later
INSERT INTO t VALUES (1, 'back');
UPDATE t SET a = 3 WHERE a = 30;
DELETE FROM t WHERE a = 5;
