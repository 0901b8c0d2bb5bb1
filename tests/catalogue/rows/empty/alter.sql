-- an empty table
ADD COLUMN z INT, ADD UNIQUE KEY (a)
