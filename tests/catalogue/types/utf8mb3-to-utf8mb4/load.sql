INSERT INTO t VALUES (5, 'ñ日');
UPDATE t SET c = 'ñ日' WHERE id = 2;
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 100 WHERE id = 3;
-- later
INSERT INTO t VALUES (6, 'plain'), (7, 'Größe');
UPDATE t SET c = 'plain' WHERE id = 4;
UPDATE t SET id = 3 WHERE id = 100;
INSERT INTO t VALUES (1, 'Größe');
