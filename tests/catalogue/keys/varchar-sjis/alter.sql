-- the key is text in sjis
ADD COLUMN z INT
