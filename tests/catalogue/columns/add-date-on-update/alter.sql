-- a DATETIME with ON UPDATE and no default, in an empty table with an index
ADD COLUMN d DATETIME NOT NULL ON UPDATE CURRENT_TIMESTAMP AFTER id
