UPDATE t SET k = k + 1 WHERE k = 43;
