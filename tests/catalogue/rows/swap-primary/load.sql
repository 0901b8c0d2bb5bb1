BEGIN;
UPDATE t SET id = -1 WHERE id = 1;
UPDATE t SET id = 1 WHERE id = 2;
UPDATE t SET id = 2 WHERE id = -1;
COMMIT;
-- later
BEGIN;
UPDATE t SET id = -1 WHERE id = 3;
UPDATE t SET id = 3 WHERE id = 4;
UPDATE t SET id = 4 WHERE id = -1;
COMMIT;
UPDATE t SET id = id + 100 ORDER BY id DESC;
UPDATE t SET id = id - 99 ORDER BY id;
