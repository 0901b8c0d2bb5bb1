UPDATE t SET a = 'x\0', b = x'00' WHERE id = 2;
-- later
UPDATE t SET a = '\Z', b = a WHERE id = 3;
