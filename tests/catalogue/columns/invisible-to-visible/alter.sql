-- an invisible column becomes visible
MODIFY a INT, ADD COLUMN z INT
