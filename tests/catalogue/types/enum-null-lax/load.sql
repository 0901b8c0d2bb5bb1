UPDATE t SET e = NULL WHERE id = 2;
-- later
INSERT INTO t VALUES (7, NULL), (8, 'c');
