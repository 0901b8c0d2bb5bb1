-- an invisible index
ADD INDEX f (b) INVISIBLE, ALTER INDEX a INVISIBLE
