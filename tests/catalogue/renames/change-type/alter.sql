-- CHANGE with another type
CHANGE a aa BIGINT UNSIGNED
