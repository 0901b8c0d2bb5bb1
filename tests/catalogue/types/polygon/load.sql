INSERT INTO t VALUES (5, ST_GeomFromText('MULTIPOINT(1 1,2 2)'));
UPDATE t SET c = ST_GeomFromText('MULTIPOINT(1 1,2 2)') WHERE id = 2;
DELETE FROM t WHERE id = 1;
UPDATE t SET id = 100 WHERE id = 3;
-- later
INSERT INTO t VALUES (6, ST_GeomFromText('POINT(0 0)')), (7, ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))'));
UPDATE t SET c = ST_GeomFromText('POINT(0 0)') WHERE id = 4;
UPDATE t SET id = 3 WHERE id = 100;
INSERT INTO t VALUES (1, ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))'));
