INSERT INTO t VALUES (5, 'abc');
UPDATE t SET c = 'abc' WHERE id = 2;
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 100 WHERE id = 3;
-- later
INSERT INTO t VALUES (6, '9.7'), (7, 'x5');
UPDATE t SET c = '9.7' WHERE id = 4;
UPDATE t SET id = 3 WHERE id = 100;
INSERT INTO t VALUES (1, 'x5');
