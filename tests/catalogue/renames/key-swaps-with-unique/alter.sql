-- primary and unique key column swap names
RENAME COLUMN id TO u, RENAME COLUMN u TO id
