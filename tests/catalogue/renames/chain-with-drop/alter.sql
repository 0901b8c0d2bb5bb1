-- a name is freed by DROP and taken by a rename
DROP COLUMN a, RENAME COLUMN b TO a
