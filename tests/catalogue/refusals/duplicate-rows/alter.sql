-- duplicates for a new unique key
ADD UNIQUE KEY ub (b)
