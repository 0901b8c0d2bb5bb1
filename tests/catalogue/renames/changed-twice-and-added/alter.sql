-- a column is changed twice, and another is added under its new name
MODIFY COLUMN a INT UNSIGNED NULL FIRST, ADD COLUMN b DATE, CHANGE COLUMN a b MEDIUMINT(6) ZEROFILL NULL FIRST
