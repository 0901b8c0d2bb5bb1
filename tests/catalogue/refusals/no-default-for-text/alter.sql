-- a literal default for TEXT
ADD COLUMN c TEXT DEFAULT 'x'
