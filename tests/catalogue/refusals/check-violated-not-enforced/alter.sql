-- a CHECK that is not enforced
ADD CONSTRAINT positive CHECK (a > 50) NOT ENFORCED
