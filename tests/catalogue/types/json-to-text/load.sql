INSERT INTO t VALUES (5, '{"k": 1e30}');
UPDATE t SET c = '{"k": 1e30}' WHERE id = 2;
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 100 WHERE id = 3;
-- later
INSERT INTO t VALUES (6, '17'), (7, '{"b": 1, "a": 2}');
UPDATE t SET c = '17' WHERE id = 4;
UPDATE t SET id = 3 WHERE id = 100;
INSERT INTO t VALUES (1, '{"b": 1, "a": 2}');
