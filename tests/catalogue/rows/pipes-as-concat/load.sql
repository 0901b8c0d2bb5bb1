INSERT INTO t VALUES (3, 'c');
-- later
UPDATE t SET a = 'q' WHERE id = 1;
