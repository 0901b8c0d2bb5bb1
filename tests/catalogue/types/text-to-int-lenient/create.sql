CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20), b TEXT CHARACTER SET utf16, c CHAR(9), d JSON, e BLOB);
INSERT INTO t VALUES (1, '-12.5', '1e3', '255.5', '1.50', '0x10'), (2, 'none', '99999999999999999999', '-1', '"5"', '70000'), (3, NULL, NULL, NULL, NULL, NULL), (4, '', ' ', '.9', '[1]', '2.5abc');
