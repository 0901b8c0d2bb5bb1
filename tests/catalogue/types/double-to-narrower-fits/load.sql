UPDATE t SET a = a / 3, b = b / 3, c = c / 3;
