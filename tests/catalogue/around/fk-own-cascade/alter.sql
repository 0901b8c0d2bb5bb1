-- its parent's deletes cascade into it
ADD COLUMN z INT
