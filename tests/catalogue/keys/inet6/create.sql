CREATE TABLE t (k INET6, v INT, PRIMARY KEY (k));
INSERT INTO t VALUES ('::1', 0), ('::2', 1), ('fe80::1', 2), ('::ffff:1.2.3.4', 3), ('::', 4), ('::3', 5);
