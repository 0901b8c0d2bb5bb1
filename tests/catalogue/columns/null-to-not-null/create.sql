CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, a INT, b VARCHAR(40), u INT NOT NULL, UNIQUE KEY u (u), KEY a (a));
INSERT INTO t (id, a, b, u) VALUES (1, 10, 'one', 101), (2, 20, 'two', 102), (3, NULL, 'three', 103), (4, 40, NULL, 104), (5, 50, 'five', 105), (6, 60, 'six', 106), (7, 70, '', 107), (8, 80, 'eight', 108), (9, 90, 'nine', 109), (10, 100, 'ten', 110), (11, 110, 'eleven', 111), (12, 120, 'twelve', 112);
UPDATE t SET a = 0 WHERE a IS NULL;
