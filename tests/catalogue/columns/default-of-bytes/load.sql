INSERT INTO t (id, n) VALUES (5, 5);
UPDATE t SET a = DEFAULT, b = 'x' WHERE id = 2;
