-- utf8mb4 to latin1 with losses, without strict mode
MODIFY c VARCHAR(20) CHARACTER SET latin1
