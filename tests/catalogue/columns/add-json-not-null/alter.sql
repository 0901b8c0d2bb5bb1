-- a JSON column that must have a value, and rows that have none
ADD COLUMN j JSON NOT NULL
