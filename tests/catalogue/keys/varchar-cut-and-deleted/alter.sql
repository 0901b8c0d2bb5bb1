-- a part of the key is cut, and the row is deleted after the copy, without strict mode
MODIFY COLUMN q VARCHAR(5) CHARACTER SET utf16 COLLATE utf16_unicode_ci NOT NULL
