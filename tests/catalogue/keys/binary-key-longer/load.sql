UPDATE t SET v = 20 WHERE v = 2;
UPDATE t SET k = x'77' WHERE v = 1;
-- later
DELETE FROM t WHERE v = 3;
INSERT INTO t VALUES (x'03', 9);
