INSERT INTO t VALUES (5, 'm31,m32');
UPDATE t SET c = 'm31,m32' WHERE id = 2;
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 100 WHERE id = 3;
-- later
INSERT INTO t VALUES (6, 'm1'), (7, 'm63');
UPDATE t SET c = 'm1' WHERE id = 4;
UPDATE t SET id = 3 WHERE id = 100;
INSERT INTO t VALUES (1, 'm63');
