CREATE TABLE t (k VARCHAR(20) COLLATE utf8mb4_0900_ai_ci, v INT, PRIMARY KEY (k));
INSERT INTO t VALUES ('a', 0), ('B', 1), ('c', 2), ('ä1', 3), ('E', 4), ('ss', 5);
