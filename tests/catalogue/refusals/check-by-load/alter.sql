-- a write that breaks a new CHECK
ADD CONSTRAINT small CHECK (u < 1000)
