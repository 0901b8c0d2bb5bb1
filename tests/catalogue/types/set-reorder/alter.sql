-- the members of a SET change places
MODIFY c SET('c','b','a')
