-- another expression
MODIFY s VARCHAR(30) AS (CONCAT('t', a)) STORED
