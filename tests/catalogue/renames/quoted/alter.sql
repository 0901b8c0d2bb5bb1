-- names in quotes
RENAME COLUMN `b` TO `b, DROP a`
