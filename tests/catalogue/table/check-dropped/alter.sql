-- a CHECK is dropped
DROP CONSTRAINT named
