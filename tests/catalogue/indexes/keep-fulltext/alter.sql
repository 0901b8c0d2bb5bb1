-- a FULLTEXT index stays
ADD COLUMN z INT
