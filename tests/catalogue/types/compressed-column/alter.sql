-- a compressed column
ADD z INT
