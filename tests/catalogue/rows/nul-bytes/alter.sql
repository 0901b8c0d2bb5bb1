-- zero bytes and quotes in texts
ADD COLUMN z INT
