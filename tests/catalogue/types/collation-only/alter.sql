-- only the collation changes
MODIFY c VARCHAR(20) COLLATE utf8mb4_bin
