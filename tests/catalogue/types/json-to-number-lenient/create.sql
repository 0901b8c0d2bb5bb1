CREATE TABLE t (id INT PRIMARY KEY, d JSON, e JSON, f JSON, g JSON, h JSON);
INSERT INTO t VALUES (1, '"5"', '"5"', '"5"', '"5.5"', '"5"'), (2, '[1]', '[1]', '[1]', '[1]', '[1]'), (3, 'true', 'true', 'true', 'true', 'true'), (4, '1.5', '1.5', '1.5', '1.5', '0.1'), (5, 'null', 'null', 'null', 'null', 'null'), (6, '300', '300', '300', '300', '300'), (7, NULL, NULL, NULL, NULL, NULL);
