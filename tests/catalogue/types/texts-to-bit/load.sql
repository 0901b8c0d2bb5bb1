UPDATE t SET a = '77', d = '9' WHERE id = 1;
-- later
INSERT INTO t VALUES (7, '300', '1', '2', '3');
