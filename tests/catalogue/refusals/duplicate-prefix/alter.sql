-- duplicates in a prefix
ADD UNIQUE KEY ub (b(1))
