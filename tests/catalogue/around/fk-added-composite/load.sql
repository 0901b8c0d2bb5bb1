UPDATE t SET px = 3, py = 'c' WHERE id = 1;
-- later
INSERT INTO t VALUES (7, 9, NULL, 7);
