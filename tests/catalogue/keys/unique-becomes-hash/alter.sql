-- a column of the unique key becomes a TINYTEXT
MODIFY COLUMN c TINYTEXT CHARACTER SET latin1 NOT NULL
