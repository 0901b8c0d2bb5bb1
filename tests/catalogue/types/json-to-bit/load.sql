UPDATE t SET a = '7' WHERE id = 1;
-- later
INSERT INTO t VALUES (7, '9');
