UPDATE t SET a = CONCAT(a, '1'), b = CONCAT(b, '5'), c = CONCAT('5', c) WHERE id IN (2, 5);
INSERT INTO t VALUES (20, 'none', 'none', 'none');
