INSERT INTO t (k) VALUES ('d');
DELETE FROM t WHERE k = 'd';
UPDATE t SET id = 50 WHERE k = 'a';
