CREATE TABLE t (k BINARY(4), v INT, PRIMARY KEY (k));
INSERT INTO t VALUES (x'00', 0), (x'01', 1), (x'0100FF', 2), (x'FFFFFFFF', 3), (x'20', 4), (x'FF', 5);
