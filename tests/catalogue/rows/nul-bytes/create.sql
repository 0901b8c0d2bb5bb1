CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20), b VARBINARY(20));
INSERT INTO t VALUES (1, 'a\0b', 'a\0b'), (2, '\'"`', '\'"`'), (3, '\\', '\\'), (4, '%_', x'FF00FE');
