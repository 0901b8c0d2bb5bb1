-- DOUBLE and FLOAT become numbers that do not hold them, without strict mode
MODIFY a DECIMAL(6,2), MODIFY b INT, MODIFY c TINYINT UNSIGNED, MODIFY d BIGINT, MODIFY e FLOAT, MODIFY f DECIMAL(30,20)
