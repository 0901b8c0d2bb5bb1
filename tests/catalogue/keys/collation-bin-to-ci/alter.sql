-- the key changes from bin to ci
MODIFY k VARCHAR(20) COLLATE utf8mb4_general_ci
