-- the primary key is dropped
DROP PRIMARY KEY
