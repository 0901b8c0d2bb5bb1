-- a new unique column with one default for all
ADD COLUMN c INT NOT NULL DEFAULT 1 UNIQUE
