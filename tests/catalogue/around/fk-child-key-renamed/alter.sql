-- the column that a child points to is renamed
RENAME COLUMN id TO key_id
