-- an index is dropped
DROP INDEX a
