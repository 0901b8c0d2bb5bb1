UPDATE t SET a = a / 3, b = b / 3, c = c / 3, d = d / 3, e = e / 3;
INSERT INTO t VALUES (20, 1e10, 1e10, -1e10, 1e10, 1e6);
