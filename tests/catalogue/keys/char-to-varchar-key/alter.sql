-- the key changes from CHAR to VARCHAR
MODIFY k VARCHAR(20) COLLATE utf8mb4_general_ci
