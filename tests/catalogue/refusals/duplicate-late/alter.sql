-- a duplicate that comes after the copy
ADD UNIQUE KEY ub (b)
