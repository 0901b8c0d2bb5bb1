CREATE TABLE t (id INT PRIMARY KEY, d JSON);
INSERT INTO t VALUES (1, '{"tags": [1, 2]}'), (2, '{"tags": [3]}'), (3, NULL);
