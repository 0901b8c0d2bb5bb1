-- the ALTER sets the counter
AUTO_INCREMENT = 500, ADD COLUMN z INT
