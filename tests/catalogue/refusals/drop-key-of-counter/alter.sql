-- the key of the AUTO_INCREMENT column is dropped
DROP PRIMARY KEY
