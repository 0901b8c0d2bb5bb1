INSERT INTO t VALUES (20, 1e11), (21, -2.5e-9);
UPDATE t SET n = n * 10;
-- later
UPDATE t SET n = n / 3;
