CREATE TABLE t (k VARCHAR(20) CHARACTER SET latin1, v INT, PRIMARY KEY (k));
INSERT INTO t VALUES ('a', 0), ('B', 1), ('é', 2), ('ä1', 3), ('E1', 4), ('ß', 5);
