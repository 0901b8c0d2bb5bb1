INSERT INTO t VALUES (5, b'11');
UPDATE t SET c = b'11' WHERE id = 2;
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 100 WHERE id = 3;
-- later
INSERT INTO t VALUES (6, b'1'), (7, b'101');
UPDATE t SET c = b'1' WHERE id = 4;
UPDATE t SET id = 3 WHERE id = 100;
INSERT INTO t VALUES (1, b'101');
