-- a table with 1,017 columns
ADD COLUMN z TINYINT
