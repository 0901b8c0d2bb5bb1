-- FLOAT becomes text, long and short, without strict mode
MODIFY a VARCHAR(40), MODIFY b CHAR(5), MODIFY c VARBINARY(4), MODIFY d TEXT
