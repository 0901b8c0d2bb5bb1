-- another default collation
COLLATE utf8mb4_bin
