-- the counter was set by AUTO_INCREMENT =
ADD COLUMN z INT
