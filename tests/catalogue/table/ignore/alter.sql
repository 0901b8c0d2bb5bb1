-- ALTER IGNORE drops duplicates
ADD UNIQUE KEY (b)
