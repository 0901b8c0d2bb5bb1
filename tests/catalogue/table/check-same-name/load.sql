UPDATE t SET a = 9 WHERE id = 2;
UPDATE t SET b = -1 WHERE id = 1;
INSERT INTO t VALUES (5, 5, 5);
-- later
UPDATE t SET id = 30 WHERE id = 3;
