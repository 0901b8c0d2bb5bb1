UPDATE t SET id = id + 1 ORDER BY id DESC;
UPDATE t SET id = id - 1 ORDER BY id;
UPDATE t SET id = id + 3 ORDER BY id DESC;
-- later
UPDATE t SET id = id + 1 ORDER BY id DESC;
UPDATE t SET id = id * 10 ORDER BY id DESC;
