INSERT INTO t (id, a) SELECT 100, f();
-- later
INSERT INTO t (id, a) SELECT 101, f();
