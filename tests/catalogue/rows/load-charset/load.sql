SET NAMES latin1;
UPDATE t SET a = x'C3BC' WHERE k = 'b';
INSERT INTO t VALUES (_latin1 x'FC', _latin1 x'FC');
-- later
UPDATE t SET k = _latin1 x'E9' WHERE k = 'c';
