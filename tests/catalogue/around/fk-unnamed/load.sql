UPDATE t SET p_id = 4 WHERE id = 2;
