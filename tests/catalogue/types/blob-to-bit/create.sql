CREATE TABLE t (id INT PRIMARY KEY, a BLOB, b TEXT CHARACTER SET utf16, c TINYTEXT CHARACTER SET latin1);
INSERT INTO t VALUES (1, x'BBDD', 'x', 'k34'), (2, '34', ' 12abc', '12.7'), (3, '', '', ''), (4, NULL, NULL, NULL), (5, '7 7', '+3', '1e3'), (6, x'00', '😀5', '-1');
