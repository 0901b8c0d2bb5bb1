CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(10));
INSERT INTO t VALUES (1, 'abc  '), (2, ' a '), (3, ''), (4, NULL);
