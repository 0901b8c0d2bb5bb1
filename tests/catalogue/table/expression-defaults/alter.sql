-- expression defaults stay
ADD COLUMN z INT
