UPDATE t SET v = 'ü' WHERE k = 'b';
UPDATE t SET k = 'A' WHERE k = 'a';
INSERT INTO t VALUES ('ñ', '9');
-- later
UPDATE t SET k = 'ö' WHERE k = 'c';
DELETE FROM t WHERE k = 'z';
