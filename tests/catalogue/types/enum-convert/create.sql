CREATE TABLE t (id INT PRIMARY KEY, e ENUM('x', 'ä') NOT NULL DEFAULT 'x', s SET('ö', 'b')) DEFAULT CHARACTER SET utf8mb3 COLLATE utf8mb3_bin;
INSERT INTO t VALUES (1, 'ä', 'ö,b'), (2, 'x', NULL), (3, 'x', 'b');
