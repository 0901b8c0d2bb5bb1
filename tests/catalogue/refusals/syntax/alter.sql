-- a syntax error
ADD COLUMN c INTT
