-- JSON values of all sorts become numbers, without strict mode
MODIFY d INT, MODIFY e DOUBLE, MODIFY f BIGINT, MODIFY g DECIMAL(10,2), MODIFY h FLOAT
