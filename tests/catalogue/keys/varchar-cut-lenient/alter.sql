-- a part of the key is cut, and another row of the chunk changes its key, without strict mode
MODIFY COLUMN q VARCHAR(5) CHARACTER SET utf16 COLLATE utf16_unicode_ci NOT NULL
