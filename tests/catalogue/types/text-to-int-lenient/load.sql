UPDATE t SET a = '2.5', b = '-2.5', c = '3.5', e = '4.5' WHERE id = 1;
