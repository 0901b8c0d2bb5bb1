INSERT INTO t (id, p_id) VALUES (90, 99);
DELETE FROM p WHERE id = 2;
INSERT INTO t (id, p_id) VALUES (91, 3);
UPDATE p SET id = 33 WHERE id = 3;
