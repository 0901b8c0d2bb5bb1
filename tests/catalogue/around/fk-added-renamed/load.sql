UPDATE t SET q = 4 WHERE id = 2;
-- later
INSERT INTO t VALUES (7, 3, 7);
