UPDATE t SET g = ST_GeomFromText('POINT(9 9)') WHERE id = 2;
-- later
DELETE FROM t WHERE id = 1;
