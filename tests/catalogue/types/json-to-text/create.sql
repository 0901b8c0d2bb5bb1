CREATE TABLE t (id INT PRIMARY KEY, c JSON);
INSERT INTO t VALUES (1, '{"b": 1, "a": 2}'), (2, '[]'), (3, '"x"'), (4, NULL);
