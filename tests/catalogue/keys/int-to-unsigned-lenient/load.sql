-- later
UPDATE t SET id = 37 WHERE id = -128;
