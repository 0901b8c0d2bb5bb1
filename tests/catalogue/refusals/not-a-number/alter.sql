-- a text that is no number
MODIFY b INT
