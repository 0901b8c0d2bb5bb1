CREATE TABLE t (k TIME, v INT, PRIMARY KEY (k));
INSERT INTO t VALUES ('-838:59:59', 0), ('838:59:59', 1), ('00:00:00', 2), ('-00:00:01', 3), ('12:00:00', 4), ('23:59:59', 5);
