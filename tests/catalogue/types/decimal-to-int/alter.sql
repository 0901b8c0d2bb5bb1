-- DECIMAL to INT rounds
MODIFY c INT
