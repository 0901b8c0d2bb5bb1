-- generated columns stay
ADD COLUMN z INT
