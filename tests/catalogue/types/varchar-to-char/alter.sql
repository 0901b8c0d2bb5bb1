-- VARCHAR to CHAR: trailing blanks go
MODIFY c CHAR(10)
