UPDATE t SET n = n + 10 WHERE n IN (1, 2, 4);
UPDATE t SET d = '2022-01-01' WHERE n = 5;
DELETE FROM t WHERE n = 11;
-- later
UPDATE t SET n = n + 10;
DELETE FROM t WHERE n = 22;
