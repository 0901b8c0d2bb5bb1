-- a column is added before all others
ADD COLUMN c INT NOT NULL DEFAULT 7 FIRST
