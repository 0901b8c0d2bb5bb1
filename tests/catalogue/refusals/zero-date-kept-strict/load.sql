UPDATE t SET b = 9 WHERE id = 1;
