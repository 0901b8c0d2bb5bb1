-- the key column is renamed
RENAME COLUMN id TO key_id
