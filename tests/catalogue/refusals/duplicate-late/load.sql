-- later
UPDATE t SET b = 'dup' WHERE id IN (2, 9);
