-- a row with 0 in its AUTO_INCREMENT column
ADD COLUMN z INT
