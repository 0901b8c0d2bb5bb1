INSERT INTO t VALUES (5, '😀');
UPDATE t SET c = '😀' WHERE id = 2;
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 100 WHERE id = 3;
-- later
INSERT INTO t VALUES (6, 'y'), (7, 'äöü');
UPDATE t SET c = 'y' WHERE id = 4;
UPDATE t SET id = 3 WHERE id = 100;
INSERT INTO t VALUES (1, 'äöü');
