-- the key is text in utf16
ADD COLUMN z INT
