-- the column under generated ones changes its type
MODIFY a BIGINT
