CREATE TABLE t (k VARCHAR(20) COLLATE utf8mb4_bin, v INT, PRIMARY KEY (k));
INSERT INTO t VALUES ('a', 0), ('A', 1), ('c', 2), ('ä1', 3), ('😀', 4), ('ss1', 5);
