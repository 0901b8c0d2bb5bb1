-- CHANGE with the same type
CHANGE COLUMN b bb VARCHAR(40)
