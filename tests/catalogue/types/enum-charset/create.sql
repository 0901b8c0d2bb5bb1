CREATE TABLE t (id INT PRIMARY KEY, c ENUM('ä','ö') CHARACTER SET latin1);
INSERT INTO t VALUES (1, 'ä'), (2, 'ö'), (3, 'ä'), (4, NULL);
