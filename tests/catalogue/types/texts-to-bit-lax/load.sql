UPDATE t SET a = 'z' WHERE id = 3;
-- later
INSERT INTO t VALUES (7, 'q', '5', 'r', x'01');
