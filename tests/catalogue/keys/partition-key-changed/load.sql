UPDATE t SET b = 25 WHERE id = 2;
