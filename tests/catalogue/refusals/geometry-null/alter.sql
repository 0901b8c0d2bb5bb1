-- a SPATIAL index over a nullable column
ADD SPATIAL INDEX (g)
