-- writes from a latin1 session
ADD COLUMN z INT
