-- a unique key is dropped
DROP KEY u
