UPDATE t SET b = 'much too long' WHERE id = 1;
