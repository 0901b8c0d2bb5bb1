-- trailing blanks stay
MODIFY c VARCHAR(20)
