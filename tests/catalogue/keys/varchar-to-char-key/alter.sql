-- the key changes from VARCHAR to CHAR
MODIFY k CHAR(20) COLLATE utf8mb4_general_ci
