-- a row format stays
ADD COLUMN z INT
