-- a unique key is added
ADD UNIQUE KEY ua (a)
