UPDATE t SET a = a + 1000, b = b * 7, c = c / 3, d = d / 3;
