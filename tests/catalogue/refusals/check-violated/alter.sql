-- a row that breaks a new CHECK
ADD CONSTRAINT positive CHECK (a > 50 OR a IS NULL)
