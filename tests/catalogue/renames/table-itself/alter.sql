-- the table itself
RENAME TO t_other, ADD COLUMN c INT
