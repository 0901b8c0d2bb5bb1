UPDATE t SET b = 'x' WHERE a % 10 = 0;
DELETE FROM t WHERE a % 17 = 0;
UPDATE t SET id = id + 1 WHERE a % 13 = 0;
-- later
UPDATE t SET id = id + 10000 WHERE a BETWEEN 50 AND 60;
DELETE FROM t WHERE id < 70;
