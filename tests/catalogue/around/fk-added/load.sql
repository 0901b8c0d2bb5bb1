UPDATE t SET p_id = 4 WHERE id = 2;
-- later
INSERT INTO t VALUES (7, 2, 7);
