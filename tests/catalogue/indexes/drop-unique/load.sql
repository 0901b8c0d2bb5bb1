INSERT INTO t (a, b, u) VALUES (200, 'new', 200), (201, 'newer', 201);
UPDATE t SET b = 'changed' WHERE id = 3;
DELETE FROM t WHERE id = 4;
UPDATE t SET id = 40 WHERE id = 5;
BEGIN;
UPDATE t SET u = -1 WHERE id = 1;
UPDATE t SET u = 101 WHERE id = 2;
UPDATE t SET u = 102 WHERE id = 1;
COMMIT;
