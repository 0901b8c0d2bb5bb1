-- to a word of the grammar
RENAME COLUMN b TO `select`, RENAME COLUMN a TO `key`
