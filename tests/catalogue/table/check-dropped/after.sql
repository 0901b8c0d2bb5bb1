INSERT INTO t (id, b) VALUES (9, -1);
