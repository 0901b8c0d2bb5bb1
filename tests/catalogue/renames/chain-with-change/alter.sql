-- a name is freed by DROP and taken by CHANGE
DROP COLUMN a, CHANGE b a VARCHAR(40)
