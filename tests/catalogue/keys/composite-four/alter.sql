-- four key columns of four types
ADD COLUMN z INT
