UPDATE t SET b = 'x' WHERE id = 1;
UPDATE t SET b = 'a' WHERE id = 2;
-- later
INSERT INTO t VALUES (5, 5, 'b');
