-- numbers with leading zeros become texts, long enough and too short, without strict mode
MODIFY a VARCHAR(20), MODIFY b CHAR(4), MODIFY c VARBINARY(20), MODIFY d TEXT, MODIFY e CHAR(8), MODIFY f VARCHAR(3)
