UPDATE t SET a = 99 WHERE id = 2;
INSERT INTO t VALUES (6, 6);
-- later
UPDATE t SET id = 10 WHERE id = 3;
INSERT INTO t (id, a) VALUES (7, 70);
