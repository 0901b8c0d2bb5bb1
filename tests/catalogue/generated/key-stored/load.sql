UPDATE t SET a = 20 WHERE a = 2;
INSERT INTO t (a, b) VALUES (6, 6);
-- later
DELETE FROM t WHERE a = 1;
UPDATE t SET b = 50 WHERE a = 5;
