-- the ENUM of the key gets members
MODIFY k ENUM('a','b','c','d','e')
