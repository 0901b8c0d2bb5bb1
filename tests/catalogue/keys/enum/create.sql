CREATE TABLE t (k ENUM('z','y','x','w','v','u','t','s','r'), v INT, PRIMARY KEY (k));
INSERT INTO t VALUES ('z', 0), ('y', 1), ('x', 2), ('w', 3), ('v', 4), ('u', 5);
