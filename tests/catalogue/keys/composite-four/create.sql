CREATE TABLE t (a DATE, b DECIMAL(6,2), c CHAR(3) CHARACTER SET ascii, d BINARY(2), v INT, PRIMARY KEY (d, c, a, b));
INSERT INTO t VALUES ('2020-01-01', 1.5, 'a', x'01', 0), ('2020-01-01', 1.5, 'b', x'01', 1), ('2020-01-01', -1.5, 'a', x'01', 2), ('2021-01-01', 1.5, 'a', x'01', 3), ('2020-01-01', 1.5, 'a', x'0001', 4), ('2020-01-01', 0, '', '', 5);
