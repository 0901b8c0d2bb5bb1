CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20) CHARACTER SET sjis, b TEXT, c BINARY(3), d BLOB);
INSERT INTO t VALUES (1, 'ss', 'a', 'b', x'03'), (2, '5.7', '12x', '1', ''), (3, '300', '-3', '77', '9');
