-- a unique column is renamed
RENAME COLUMN u TO uu
