-- FLOAT to the last bit
ADD z INT
