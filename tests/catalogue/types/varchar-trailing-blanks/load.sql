INSERT INTO t VALUES (5, 'x  ');
UPDATE t SET c = 'x  ' WHERE id = 2;
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 100 WHERE id = 3;
-- later
INSERT INTO t VALUES (6, ' '), (7, 'abc  ');
UPDATE t SET c = ' ' WHERE id = 4;
UPDATE t SET id = 3 WHERE id = 100;
INSERT INTO t VALUES (1, 'abc  ');
