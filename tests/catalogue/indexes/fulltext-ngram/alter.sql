-- a FULLTEXT index with a parser
ADD COLUMN z INT FIRST
