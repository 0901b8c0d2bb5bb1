-- names in double quotes under ANSI_QUOTES
RENAME COLUMN "b" TO "b b", ADD COLUMN "c" INT DEFAULT 1
