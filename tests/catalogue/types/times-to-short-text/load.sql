UPDATE t SET a = ADDTIME(a, '0:0:1'), b = b + INTERVAL 1 DAY, d = d + INTERVAL 1 DAY;
