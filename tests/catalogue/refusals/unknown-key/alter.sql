-- a key that is not there
DROP KEY nothing
