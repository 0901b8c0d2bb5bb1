UPDATE t SET d = '{"k": "new"}' WHERE id = 1;
INSERT INTO t VALUES (5, '{"k": null}');
-- later
UPDATE t SET d = NULL WHERE id = 2;
