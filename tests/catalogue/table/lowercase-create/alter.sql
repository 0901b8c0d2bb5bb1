-- names in capital letters
ADD COLUMN z INT
