-- DECIMAL loses digits: rounded
MODIFY c DECIMAL(8,2)
