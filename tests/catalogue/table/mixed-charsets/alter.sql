-- a table with columns in five charsets
ADD COLUMN z INT
