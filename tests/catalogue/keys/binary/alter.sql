-- the key is a BINARY with zeros at the end
ADD COLUMN z INT
