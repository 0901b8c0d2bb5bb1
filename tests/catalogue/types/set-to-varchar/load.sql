INSERT INTO t VALUES (5, 'b');
UPDATE t SET c = 'b' WHERE id = 2;
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 100 WHERE id = 3;
-- later
INSERT INTO t VALUES (6, 'a,b,c'), (7, 'a');
UPDATE t SET c = 'a,b,c' WHERE id = 4;
UPDATE t SET id = 3 WHERE id = 100;
INSERT INTO t VALUES (1, 'a');
