SET timestamp = 1100000000;
UPDATE t SET a = 9 WHERE id = 2;
INSERT INTO t (id, a) VALUES (5, 5);
-- later
SET timestamp = 1200000000;
UPDATE t SET a = 10 WHERE id = 3;
UPDATE t SET id = 40 WHERE id = 4;
