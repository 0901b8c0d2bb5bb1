-- keys with backslashes under NO_BACKSLASH_ESCAPES
ADD COLUMN z VARCHAR(9) DEFAULT 'x'
