-- a DOUBLE becomes a text that is too short, without strict mode
MODIFY a CHAR(4), MODIFY b VARCHAR(5), MODIFY c TINYTEXT, MODIFY d BLOB
