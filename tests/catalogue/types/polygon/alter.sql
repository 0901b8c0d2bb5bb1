-- GEOMETRY of many kinds
ADD z INT
