INSERT INTO t (id, parent) VALUES (90, 99);
