UPDATE t SET v = 20 WHERE k = 'b';
UPDATE t SET k = 'd' WHERE k = 'a';
-- later
DELETE FROM t WHERE k = 'c';
INSERT INTO t VALUES ('a', 9);
