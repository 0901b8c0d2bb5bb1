CREATE TABLE t (a INT NOT NULL, k INT AS (a * 10) STORED NOT NULL, b INT, PRIMARY KEY (k));
INSERT INTO t (a, b) VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5);
