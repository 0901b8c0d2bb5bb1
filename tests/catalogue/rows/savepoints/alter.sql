-- savepoints and a failed statement in a transaction
ADD COLUMN z INT
