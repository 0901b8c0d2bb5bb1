-- a system-versioned table
ADD COLUMN z INT
