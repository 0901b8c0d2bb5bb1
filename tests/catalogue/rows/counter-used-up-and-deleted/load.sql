-- later
DELETE FROM t WHERE id = 65535;
