UPDATE t SET a = ADDTIME(a, '0:0:1.5'), b = b + INTERVAL 1 DAY;
