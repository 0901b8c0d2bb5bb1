-- a default that does not fit
ADD COLUMN c INT DEFAULT 'abc'
