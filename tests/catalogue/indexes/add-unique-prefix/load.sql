UPDATE t SET b = 'x1x1x1yy' WHERE id = 1;
UPDATE t SET b = 'x1x1x2yy' WHERE id = 2;
-- later
UPDATE t SET b = 'x1x1x3yy' WHERE id = 1;
