-- a column is added at the end
ADD COLUMN c INT
