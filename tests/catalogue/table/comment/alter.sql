-- a table comment
COMMENT = 'it''s, DROP COLUMN a'
