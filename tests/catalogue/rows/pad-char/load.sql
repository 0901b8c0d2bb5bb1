UPDATE t SET a = 'n' WHERE k = 'b';
UPDATE t SET k = 'e' WHERE k = 'a';
-- later
INSERT INTO t VALUES ('f', 'six');
