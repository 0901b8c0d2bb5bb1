-- the key changes from ci to bin
MODIFY k VARCHAR(20) COLLATE utf8mb4_bin
