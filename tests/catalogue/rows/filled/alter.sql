-- an empty table that is filled meanwhile
ADD COLUMN z INT
