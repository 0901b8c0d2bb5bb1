UPDATE t SET c777 = 9 WHERE id = 2;
INSERT INTO t (id, c1015) VALUES (5, 5);
-- later
DELETE FROM t WHERE id = 1;
