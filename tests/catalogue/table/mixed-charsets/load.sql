UPDATE t SET a = 'ß', e = 'щ' WHERE id = 2;
-- later
UPDATE t SET id = 30 WHERE id = 1;
