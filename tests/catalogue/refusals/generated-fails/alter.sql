-- an expression that fails for a row
ADD COLUMN g TINYINT AS (a) STORED
