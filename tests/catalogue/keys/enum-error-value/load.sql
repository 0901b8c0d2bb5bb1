UPDATE t SET v = v + 1 WHERE k = 0;
INSERT IGNORE INTO t VALUES ('no such', 8, 80), ('', 8, 81);
DELETE FROM t WHERE k = 0 AND n = 2;
DELETE FROM t WHERE k = 1 AND n = 3;
UPDATE t SET v = 500 WHERE n = 1;
-- later
UPDATE t SET v = v + 100 WHERE n = 7;
INSERT IGNORE INTO t VALUES ('no such', 6, 90), ('no such', 9, 91);
DELETE FROM t WHERE k = 1 AND n = 6;
UPDATE t SET n = n + 20 WHERE k = 0;
