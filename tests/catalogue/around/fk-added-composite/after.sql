INSERT INTO t (id, px, py) VALUES (90, 1, 'd');
UPDATE p SET y = 'new' WHERE id = 3;
SELECT id, px, py FROM t ORDER BY id;
