-- a generated column is renamed
RENAME COLUMN s TO ss
