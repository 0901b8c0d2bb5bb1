CREATE TABLE t (id INT PRIMARY KEY, c POINT);
INSERT INTO t VALUES (1, ST_GeomFromText('POINT(1 2)')), (2, ST_GeomFromText('POINT(-1.5 0)')), (3, NULL), (4, NULL);
