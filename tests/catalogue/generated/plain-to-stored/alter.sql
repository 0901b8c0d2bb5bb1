-- a plain column becomes a stored generated one
MODIFY p INT AS (a + 1) STORED
