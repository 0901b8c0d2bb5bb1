CREATE TABLE t (id INT PRIMARY KEY, a SET('x','y','z'));
INSERT INTO t VALUES (1, 'x'), (2, 'x,z');
