-- the key is text that ignores case
ADD COLUMN z INT
