-- dropped and added again with another type
DROP COLUMN b, ADD COLUMN b DATE AFTER id
