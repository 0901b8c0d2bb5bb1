-- two texts that the new collation calls equal
MODIFY b VARCHAR(9) COLLATE utf8mb4_general_ci
