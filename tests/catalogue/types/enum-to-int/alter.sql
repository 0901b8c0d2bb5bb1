-- ENUM to INT: the index
MODIFY c INT
