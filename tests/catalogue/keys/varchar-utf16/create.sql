CREATE TABLE t (k VARCHAR(20) CHARACTER SET utf16, v INT, PRIMARY KEY (k));
INSERT INTO t VALUES ('a', 0), ('日本', 1), ('😀', 2), ('本', 3), ('E1', 4), ('z', 5);
