UPDATE t SET a = NULL, b = NULL, c = NULL WHERE id = 2;
