UPDATE t SET a = a + 1, b = b + 1, c = c - 1;
