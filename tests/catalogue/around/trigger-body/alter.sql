-- a trigger with a body of several statements
ADD COLUMN z INT, MODIFY a BIGINT
