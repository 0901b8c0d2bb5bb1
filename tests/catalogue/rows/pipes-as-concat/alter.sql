-- PIPES_AS_CONCAT in a generated column
ADD COLUMN z VARCHAR(12) AS (a || 'x') STORED
