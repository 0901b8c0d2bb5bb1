UPDATE t SET a = 9 WHERE k = '\';
UPDATE t SET k = 'y\' WHERE k = 'x';
-- later
DELETE FROM t WHERE k = 'a\b';
