-- DROP IF EXISTS of one that is not there
DROP COLUMN IF EXISTS nothing, DROP COLUMN IF EXISTS a
