-- ON UPDATE CURRENT_TIMESTAMP does not fire in the copy
ADD COLUMN z INT
