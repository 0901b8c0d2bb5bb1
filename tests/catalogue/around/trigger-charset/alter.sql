-- a trigger made in another charset
ADD COLUMN z INT
