CALL p(100);
-- later
CALL p(101);
