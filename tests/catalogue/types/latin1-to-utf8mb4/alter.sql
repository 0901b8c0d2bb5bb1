-- latin1 to utf8mb4
MODIFY c VARCHAR(20) CHARACTER SET utf8mb4
