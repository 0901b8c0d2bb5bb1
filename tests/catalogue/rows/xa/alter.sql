-- writes of an XA transaction
ADD COLUMN z INT
