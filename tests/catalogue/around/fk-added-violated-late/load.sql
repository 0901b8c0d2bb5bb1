-- later
INSERT INTO t VALUES (7, 77, 7);
