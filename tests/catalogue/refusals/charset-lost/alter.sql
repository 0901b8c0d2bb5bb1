-- a character that the new charset lacks
MODIFY b VARCHAR(40) CHARACTER SET latin1
