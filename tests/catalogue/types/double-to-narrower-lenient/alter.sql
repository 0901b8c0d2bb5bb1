-- DOUBLE and FLOAT get fewer digits or lose their sign, without strict mode
MODIFY a DOUBLE(9,2), MODIFY b FLOAT(7,3), MODIFY c DOUBLE UNSIGNED, MODIFY d FLOAT(20,0), MODIFY e DOUBLE
