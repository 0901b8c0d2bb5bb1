-- an index is dropped and added otherwise
DROP INDEX a, ADD INDEX a (b)
