-- the key is text in utf8mb4_unicode_ci
ADD COLUMN z INT
