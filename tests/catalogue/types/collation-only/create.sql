CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(20) COLLATE utf8mb4_general_ci);
INSERT INTO t VALUES (1, 'Größe'), (2, 'GRÖSSE'), (3, ''), (4, NULL);
