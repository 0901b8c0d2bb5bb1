-- the ALTER sets the counter too low
AUTO_INCREMENT = 5, ADD COLUMN z INT
