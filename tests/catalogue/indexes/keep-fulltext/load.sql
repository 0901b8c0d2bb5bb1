UPDATE t SET b = 'brown dog' WHERE id = 2;
INSERT INTO t VALUES (5, 'brown owl');
-- later
DELETE FROM t WHERE id = 1;
