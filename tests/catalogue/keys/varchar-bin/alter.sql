-- the key is text in utf8mb4_bin
ADD COLUMN z INT
