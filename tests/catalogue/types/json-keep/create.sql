CREATE TABLE t (id INT PRIMARY KEY, c JSON);
INSERT INTO t VALUES (1, '{"a": [1, 2.5, null, true, "ü😀"], "b": {}}'), (2, '[]'), (3, '"x"'), (4, NULL);
