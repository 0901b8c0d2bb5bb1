-- later
DELETE FROM t WHERE k = 41;
