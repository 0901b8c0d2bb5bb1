-- the members of an ENUM change places
MODIFY c ENUM('c','b','a')
