-- a FULLTEXT index over a column of the application's own FTS_DOC_ID
ADD FULLTEXT INDEX (b), ADD COLUMN z INT
