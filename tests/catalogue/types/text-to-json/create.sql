CREATE TABLE t (id INT PRIMARY KEY, c TEXT CHARACTER SET utf8mb4);
INSERT INTO t VALUES (1, '{"b": 1, "a": 2}'), (2, '[]'), (3, '"x"'), (4, NULL);
