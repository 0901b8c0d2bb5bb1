-- the key is a BIGINT UNSIGNED at its limits
ADD COLUMN z INT
