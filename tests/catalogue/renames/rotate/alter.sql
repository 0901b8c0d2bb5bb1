-- three columns hand on their names
RENAME COLUMN a TO b, RENAME COLUMN b TO u, RENAME COLUMN u TO a
