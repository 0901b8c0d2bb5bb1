-- three children, one of them in both roles
ADD COLUMN z INT
