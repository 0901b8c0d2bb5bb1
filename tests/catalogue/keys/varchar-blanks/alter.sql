-- keys that differ by control characters before the padding
ADD COLUMN z INT
