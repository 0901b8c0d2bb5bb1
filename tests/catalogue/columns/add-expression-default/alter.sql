-- a default that is an expression
ADD COLUMN c VARCHAR(40) DEFAULT (CONCAT('x', 1 + 1))
