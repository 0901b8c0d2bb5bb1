-- bytes that are no UTF-8
MODIFY a VARCHAR(20) CHARACTER SET utf8mb4
