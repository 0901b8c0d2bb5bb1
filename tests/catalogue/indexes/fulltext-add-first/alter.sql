-- a column before all others beside a FULLTEXT index
ADD COLUMN z INT FIRST
