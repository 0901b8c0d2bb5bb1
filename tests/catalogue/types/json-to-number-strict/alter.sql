-- a JSON text becomes a number
MODIFY d INT
