-- a stored generated column before all others
ADD COLUMN c INT AS (u + 1) STORED FIRST
