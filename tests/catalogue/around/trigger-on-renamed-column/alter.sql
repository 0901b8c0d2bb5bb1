-- a trigger on a column that is renamed
RENAME COLUMN b TO bb
