-- its parent's deletes set NULL
ADD COLUMN z INT
