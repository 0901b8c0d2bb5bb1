UPDATE t SET d = '{"tags": [7]}' WHERE id = 1;
-- later
INSERT INTO t VALUES (4, '{"tags": []}');
