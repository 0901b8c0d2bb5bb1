-- duplicates of an expression
ADD UNIQUE KEY ub ((a % 7))
