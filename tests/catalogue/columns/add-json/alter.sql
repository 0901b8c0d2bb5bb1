-- a JSON column
ADD COLUMN c JSON
