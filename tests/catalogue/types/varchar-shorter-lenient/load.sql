INSERT INTO t VALUES (5, 'xyzw');
UPDATE t SET c = 'xyzw' WHERE id = 2;
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 100 WHERE id = 3;
-- later
INSERT INTO t VALUES (6, 'z'), (7, 'abcdef');
UPDATE t SET c = 'z' WHERE id = 4;
UPDATE t SET id = 3 WHERE id = 100;
INSERT INTO t VALUES (1, 'abcdef');
