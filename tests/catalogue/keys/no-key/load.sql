UPDATE t SET b = 9 WHERE a = 1;
