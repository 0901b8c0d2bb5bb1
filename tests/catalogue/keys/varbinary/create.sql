CREATE TABLE t (k VARBINARY(8), v INT, PRIMARY KEY (k));
INSERT INTO t VALUES (x'00', 0), (x'0000', 1), (x'0100FF', 2), (x'FFFFFFFF', 3), (x'20', 4), ('', 5);
