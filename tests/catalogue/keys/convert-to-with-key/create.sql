CREATE TABLE t (k VARCHAR(20) PRIMARY KEY, v VARCHAR(10)) CHARACTER SET latin1;
INSERT INTO t VALUES ('a', 'ä'), ('B', 'ß'), ('c', 'x'), ('ä1', 'y'), ('z', NULL);
