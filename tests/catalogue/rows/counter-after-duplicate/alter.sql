-- the last number was taken by a row that a unique key refused
ADD INDEX (c)
