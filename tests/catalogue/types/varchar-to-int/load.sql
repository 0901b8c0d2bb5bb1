INSERT INTO t VALUES (5, '7');
UPDATE t SET c = '7' WHERE id = 2;
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 100 WHERE id = 3;
-- later
INSERT INTO t VALUES (6, '-8'), (7, '-5');
UPDATE t SET c = '-8' WHERE id = 4;
UPDATE t SET id = 3 WHERE id = 100;
INSERT INTO t VALUES (1, '-5');
