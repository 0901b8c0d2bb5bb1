-- DECIMAL becomes texts, long enough and too short, without strict mode
MODIFY a VARCHAR(5), MODIFY b CHAR(30), MODIFY c VARBINARY(4), MODIFY d TEXT
