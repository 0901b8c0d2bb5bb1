INSERT INTO t (id, a) VALUES (8, 8);
UPDATE t SET a = 100 WHERE id = 2;
DELETE FROM t WHERE id = 1;
-- later
UPDATE t SET id = 20 WHERE id = 4;
BEGIN;
UPDATE t SET a = -5 WHERE id = 5;
UPDATE t SET a = 5 WHERE id = 6;
UPDATE t SET a = 6 WHERE id = 5;
COMMIT;
