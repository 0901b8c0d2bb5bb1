-- a SET gets members
MODIFY c SET('a','b','c')
