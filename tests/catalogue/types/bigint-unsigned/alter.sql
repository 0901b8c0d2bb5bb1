-- BIGINT UNSIGNED at its limits
ADD z INT
