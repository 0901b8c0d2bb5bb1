UPDATE t SET a = 0 WHERE a IS NULL;
-- later
UPDATE t SET a = NULL WHERE id = 9;
