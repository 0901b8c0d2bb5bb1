-- the key is an INET6
ADD COLUMN z INT
