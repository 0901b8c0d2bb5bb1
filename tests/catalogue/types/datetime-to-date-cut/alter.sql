-- DATETIME with a time to DATE
MODIFY c DATE
