INSERT INTO t (a, bb, u) VALUES (1, 'x', 900);
