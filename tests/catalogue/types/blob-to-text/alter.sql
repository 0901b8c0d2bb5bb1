-- bytes to text
MODIFY c TEXT
