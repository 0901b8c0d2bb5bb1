-- the column that a child points to changes its type
MODIFY id BIGINT NOT NULL
