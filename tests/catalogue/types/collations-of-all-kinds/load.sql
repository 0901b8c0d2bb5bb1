INSERT INTO t (id, a, b) VALUES (3, 'A', 'B');
-- later
UPDATE t SET b = 'bb' WHERE id = 1;
