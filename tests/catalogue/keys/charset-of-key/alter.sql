-- the key changes from latin1 to utf8mb4
MODIFY k VARCHAR(20) CHARACTER SET utf8mb4
