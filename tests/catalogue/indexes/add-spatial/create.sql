CREATE TABLE t (id INT PRIMARY KEY, g POINT NOT NULL);
INSERT INTO t VALUES (1, ST_GeomFromText('POINT(1 1)')), (2, ST_GeomFromText('POINT(2 2)')), (3, ST_GeomFromText('POINT(3 3)')), (4, ST_GeomFromText('POINT(4 4)'));
