-- zero and impossible dates in the key, under a mode that takes none of them, and an ALTER that leaves them alone
ADD COLUMN x INT
