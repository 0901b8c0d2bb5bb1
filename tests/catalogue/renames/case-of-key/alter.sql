-- the key column changes the case of its name
RENAME COLUMN id TO ID
