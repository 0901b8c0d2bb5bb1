UPDATE t SET d = '7', e = '8.25', f = '9', g = '10.5' WHERE id = 1;
