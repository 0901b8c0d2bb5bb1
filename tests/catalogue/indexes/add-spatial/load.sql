UPDATE t SET g = ST_GeomFromText('POINT(9 9)') WHERE id = 2;
INSERT INTO t VALUES (5, ST_GeomFromText('POINT(5 5)'));
-- later
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 30 WHERE id = 3;
