CREATE TABLE t (k VARCHAR(20) COLLATE utf8mb4_bin, v INT, PRIMARY KEY (k));
INSERT INTO t VALUES ('a', 0), ('a\t', 1), ('a b', 2), ('a!', 3), ('', 4), ('b', 5);
