CREATE TABLE t (k VARCHAR(20) PRIMARY KEY, a INT);
INSERT INTO t VALUES ('a\b', 1), ('\', 2), ('it''s', 3), ('x', 4);
