CREATE TABLE t (k VARCHAR(20) CHARACTER SET sjis, v INT, PRIMARY KEY (k));
INSERT INTO t VALUES ('a', 0), ('日本', 1), (_sjis x'835C', 2), ('本', 3), ('E1', 4), ('z', 5);
