INSERT INTO t (id, p_id) VALUES (90, 99);
