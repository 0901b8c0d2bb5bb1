-- a unique key over a prefix
ADD UNIQUE KEY bp (b(6))
