-- no key at all
ADD COLUMN z INT
