SET SESSION binlog_row_image = 'MINIMAL';
UPDATE t SET a = 9 WHERE id = 2;
UPDATE t SET id = 30 WHERE id = 3;
DELETE FROM t WHERE id = 1;
-- later
UPDATE t SET b = 'bb' WHERE id = 2;
INSERT INTO t (id) VALUES (7);
