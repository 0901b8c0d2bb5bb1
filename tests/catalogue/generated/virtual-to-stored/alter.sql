-- a virtual column becomes stored
MODIFY v INT AS (a * 2) STORED
