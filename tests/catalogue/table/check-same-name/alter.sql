-- a CHECK is dropped and added under the same name
DROP CONSTRAINT named, ADD CONSTRAINT named CHECK (b > -5)
