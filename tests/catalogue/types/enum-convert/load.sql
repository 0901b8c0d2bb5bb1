UPDATE t SET e = 'ä' WHERE id = 3;
