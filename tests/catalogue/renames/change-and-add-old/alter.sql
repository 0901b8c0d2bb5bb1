-- changed, and a new column under the old name
CHANGE b bb VARCHAR(40), ADD COLUMN b VARCHAR(40) DEFAULT 'new' AFTER id
