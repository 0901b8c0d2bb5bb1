INSERT INTO t VALUES (5, 'ö');
UPDATE t SET c = 'ö' WHERE id = 2;
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 100 WHERE id = 3;
-- later
INSERT INTO t VALUES (6, 'ä'), (7, 'ä');
UPDATE t SET c = 'ä' WHERE id = 4;
UPDATE t SET id = 3 WHERE id = 100;
INSERT INTO t VALUES (1, 'ä');
