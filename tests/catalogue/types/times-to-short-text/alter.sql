-- times become texts that are too short, without strict mode
MODIFY a VARCHAR(5), MODIFY b CHAR(10), MODIFY c VARBINARY(15), MODIFY d VARCHAR(7), MODIFY e VARCHAR(40)
