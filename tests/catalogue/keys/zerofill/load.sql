UPDATE t SET n = n + 10 WHERE d < 31;
DELETE FROM t WHERE d = 1;
INSERT INTO t VALUES (1, 1, 1, 50), (41.9, 4, 4, 9);
UPDATE t SET d = d + 0.001 WHERE n > 5;
UPDATE t SET i = i + 1 WHERE d = 0;
-- later
UPDATE t SET n = n + 100;
DELETE FROM t WHERE d = 30.811 OR d = 0.006;
UPDATE t SET f = f + 1 WHERE d = 0;
