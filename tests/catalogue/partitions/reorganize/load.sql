UPDATE t SET b = 'x' WHERE id = 5;
UPDATE t SET id = 16 WHERE id = 1;
DELETE FROM t WHERE id = 11;
INSERT INTO t VALUES (2, 7, 'g');
-- later
UPDATE t SET id = 3 WHERE id = 21;
INSERT INTO t VALUES (11, 8, 'h');
