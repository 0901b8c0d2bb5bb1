-- numbers with leading zeros in the key
ADD COLUMN x BIGINT AS (LENGTH(d)) STORED
