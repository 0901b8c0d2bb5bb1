-- defaults that are no text in any character set
ADD COLUMN x INT DEFAULT 3
