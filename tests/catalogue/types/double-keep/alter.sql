-- DOUBLE to the last bit
ADD z INT
