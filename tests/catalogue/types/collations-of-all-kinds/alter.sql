-- texts of several collations beside each other
ADD COLUMN e VARCHAR(16) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci DEFAULT 'b' AFTER id
