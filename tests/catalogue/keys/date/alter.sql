-- the key is a DATE
ADD COLUMN z INT
