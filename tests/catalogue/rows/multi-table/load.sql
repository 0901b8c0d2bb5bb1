UPDATE t JOIN o USING (id) SET t.a = o.a, o.a = 5 WHERE t.id < 3;
-- later
DELETE t, o FROM t JOIN o USING (id) WHERE t.id = 3;
INSERT INTO t SELECT id + 10, a FROM o;
