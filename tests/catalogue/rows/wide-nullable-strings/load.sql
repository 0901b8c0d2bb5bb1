UPDATE t SET c80 = '' WHERE id = 2;
UPDATE t SET c81 = NULL, c80 = NULL WHERE id = 1;
-- later
DELETE FROM t WHERE id = 3;
