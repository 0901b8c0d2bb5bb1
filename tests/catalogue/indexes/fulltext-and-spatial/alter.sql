-- FULLTEXT and SPATIAL indexes in one table
ADD COLUMN z INT
