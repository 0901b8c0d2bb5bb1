UPDATE t SET a = 'ß' WHERE id = 2;
