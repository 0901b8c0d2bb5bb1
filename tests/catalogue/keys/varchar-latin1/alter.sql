-- the key is text in latin1
ADD COLUMN z INT
