-- a CHECK is added
ADD CONSTRAINT ck_u CHECK (u > -1000000)
