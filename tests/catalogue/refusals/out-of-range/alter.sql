-- an integer out of range
MODIFY a SMALLINT
