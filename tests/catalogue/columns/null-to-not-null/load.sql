INSERT INTO t (a, b, u) VALUES (1, 'x', 500);
-- later
UPDATE t SET a = 7 WHERE id = 9;
