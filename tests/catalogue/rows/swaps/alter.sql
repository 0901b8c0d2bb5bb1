-- unique values swap all the time
ADD COLUMN z INT
