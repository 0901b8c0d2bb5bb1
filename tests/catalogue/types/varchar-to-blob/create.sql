CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(50));
INSERT INTO t VALUES (1, 'äöü'), (2, 'a '), (3, ''), (4, NULL);
