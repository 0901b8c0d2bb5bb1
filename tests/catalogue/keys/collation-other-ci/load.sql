UPDATE t SET v = 20 WHERE k = 'b';
UPDATE t SET k = 'A' WHERE k = 'a';
INSERT INTO t VALUES ('new', 9);
-- later
UPDATE t SET k = 'changed' WHERE k = 'c';
DELETE FROM t WHERE k = 'e';
INSERT INTO t VALUES ('e', 55);
