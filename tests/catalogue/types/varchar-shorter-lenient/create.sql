CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(20));
INSERT INTO t VALUES (1, 'abcdef'), (2, 'ab'), (3, 'äöüß'), (4, NULL);
