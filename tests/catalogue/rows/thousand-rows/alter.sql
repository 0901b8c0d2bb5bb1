-- a thousand rows in chunks of three
ADD COLUMN z INT, ADD UNIQUE KEY (a)
