UPDATE t SET a = REPEAT('x', 3 << 20) WHERE id = 1;
-- later
UPDATE t SET id = 20 WHERE id = 2;
