UPDATE t SET b = 'brown dog' WHERE id = 2;
INSERT INTO t (id, b, c) VALUES (7, 'brown owl', 'apple');
UPDATE t SET id = 40 WHERE id = 4;
UPDATE t SET c = 'apple pie' WHERE id = 6;
-- later
DELETE FROM t WHERE id = 1;
INSERT INTO t (id, b, c) VALUES (1, 'grey fox', 'quince');
UPDATE t SET b = 'black bear' WHERE id = 40;
