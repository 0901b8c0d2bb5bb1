-- later
UPDATE t SET u = 5000 WHERE id = 3;
