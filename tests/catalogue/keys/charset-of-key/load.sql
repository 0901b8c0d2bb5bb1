UPDATE t SET v = 20 WHERE k = 'b';
UPDATE t SET k = 'A' WHERE k = 'a';
INSERT INTO t VALUES ('ø', 9);
-- later
UPDATE t SET k = 'ö' WHERE k = 'c';
DELETE FROM t WHERE v = 5;
