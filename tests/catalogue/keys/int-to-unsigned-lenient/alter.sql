-- a key that the new type cuts goes before the swap
MODIFY id BIGINT UNSIGNED NOT NULL
