CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(20) CHARACTER SET utf8mb4);
INSERT INTO t VALUES (1, '😀😃'), (2, '👨‍👩‍👧‍👦'), (3, ''), (4, NULL);
