CREATE TABLE t (id INT PRIMARY KEY, c INET6);
INSERT INTO t VALUES (1, '::1'), (2, '2001:db8::ff00:42:8329'), (3, '::ffff:192.0.2.1'), (4, NULL);
