CREATE TABLE t (id INT PRIMARY KEY, a INT, v INT AS (a * 2) VIRTUAL, s VARCHAR(30) AS (CONCAT('s', a)) STORED, UNIQUE KEY (s), KEY (v));
INSERT INTO t (id, a) VALUES (1, 1), (2, 2), (3, NULL), (4, 4), (5, 5), (6, 6), (7, 7);
UPDATE t SET a = 3 WHERE id = 3;
