-- a NOT NULL column without default gets the implicit one
ADD COLUMN c INT NOT NULL, ADD d VARCHAR(9) NOT NULL
