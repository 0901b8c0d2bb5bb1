UPDATE t SET id = 2;
-- later
UPDATE t SET id = 1;
