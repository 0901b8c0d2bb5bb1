-- a generated column over JSON
ADD COLUMN k VARCHAR(20) AS (JSON_UNQUOTE(JSON_EXTRACT(d, '$.k'))) STORED, ADD KEY (k)
