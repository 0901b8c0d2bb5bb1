UPDATE t SET a = 9 WHERE id = 2;
-- later
INSERT INTO t (id, a) VALUES (7, 7);
