-- the key changes to another ci collation
MODIFY k VARCHAR(20) COLLATE utf8mb4_unicode_ci
