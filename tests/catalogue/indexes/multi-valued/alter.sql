-- a multi-valued index
ADD INDEX mv ((CAST(d->'$.tags' AS UNSIGNED ARRAY)))
