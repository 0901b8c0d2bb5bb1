UPDATE t SET `a.b` = 9 WHERE `id, ``x` = 2;
DELETE FROM t WHERE `id, ``x` = 1;
-- later
INSERT INTO t VALUES (6, 6, 6);
UPDATE t SET `id, ``x` = 20 WHERE `id, ``x` = 3;
