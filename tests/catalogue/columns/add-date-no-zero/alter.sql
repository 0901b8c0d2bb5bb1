-- a DATETIME that may not be NULL, where the mode takes no zero date and is not strict
ADD COLUMN d DATETIME(1) NOT NULL AFTER id
