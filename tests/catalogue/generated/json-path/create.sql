CREATE TABLE t (id INT PRIMARY KEY, d JSON);
INSERT INTO t VALUES (1, '{"k": 1}'), (2, '{"k": "two"}'), (3, '{}'), (4, NULL);
