-- a CHECK without a name
ADD CHECK (u > -1000000), ADD COLUMN c INT CHECK (c > 0)
