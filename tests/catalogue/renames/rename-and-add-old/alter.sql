-- renamed, and a new column under the old name
RENAME COLUMN b TO bb, ADD COLUMN b INT DEFAULT 1
