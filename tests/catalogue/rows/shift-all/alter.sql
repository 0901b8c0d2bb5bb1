-- every key moves by one, several times
ADD COLUMN z INT
