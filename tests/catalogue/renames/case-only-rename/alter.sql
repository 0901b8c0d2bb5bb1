-- only the case, by RENAME COLUMN
RENAME COLUMN b TO B
