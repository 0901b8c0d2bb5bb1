-- a part of the key is negative and becomes unsigned, without strict mode
MODIFY COLUMN `it's` BIGINT UNSIGNED NOT NULL FIRST
