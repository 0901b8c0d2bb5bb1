-- the key changes from DATE to DATETIME
MODIFY k DATETIME
