UPDATE t SET a = '77', b = '78', c = '79', d = '80', e = '81' WHERE id = 1;
