-- a unique key over NULLs
ADD UNIQUE KEY ub (b, a)
