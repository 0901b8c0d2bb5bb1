UPDATE t SET a = a + 7, b = b + 7, c = c + 7, d = d + 7;
