-- zero dates into DATETIME
MODIFY c DATETIME
