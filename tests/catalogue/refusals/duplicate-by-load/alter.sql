-- a duplicate that only the writes bring
ADD UNIQUE KEY ub (b)
