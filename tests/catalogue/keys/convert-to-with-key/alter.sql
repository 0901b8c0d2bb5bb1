-- CONVERT TO where the key is text
CONVERT TO CHARACTER SET utf8mb4
