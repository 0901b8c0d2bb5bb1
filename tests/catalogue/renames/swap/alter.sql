-- two columns of one type swap their names
RENAME COLUMN a TO u, RENAME COLUMN u TO a
