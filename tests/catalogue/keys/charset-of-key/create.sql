CREATE TABLE t (k VARCHAR(20) CHARACTER SET latin1 PRIMARY KEY, v INT);
INSERT INTO t VALUES ('a', 1), ('B', 2), ('c', 3), ('ä1', 4), ('E', 5), ('ñ', 6);
