-- an ignored index
ADD INDEX f (b) IGNORED, ALTER INDEX a IGNORED
