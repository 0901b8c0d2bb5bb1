INSERT INTO t (id, a) VALUES (9, -1);
