UPDATE t SET n = n + 10;
-- later
UPDATE t SET n = n + 10 WHERE id > 2;
