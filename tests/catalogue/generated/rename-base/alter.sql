-- the column under a generated one is renamed
RENAME COLUMN a TO aa
