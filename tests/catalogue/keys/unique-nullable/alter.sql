-- only a unique key with NULLs: no key
ADD COLUMN z INT
