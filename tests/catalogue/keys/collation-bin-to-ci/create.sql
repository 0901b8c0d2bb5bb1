CREATE TABLE t (k VARCHAR(20) COLLATE utf8mb4_bin PRIMARY KEY, v INT);
INSERT INTO t VALUES ('a', 1), ('B', 2), ('c', 3), ('ä1', 4), ('E', 5), ('x ', 6);
