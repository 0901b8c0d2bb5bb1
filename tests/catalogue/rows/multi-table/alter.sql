-- an UPDATE and a DELETE of two tables
ADD COLUMN z INT
