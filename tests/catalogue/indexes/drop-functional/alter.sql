-- a functional index is dropped
DROP INDEX f
