-- an index over a prefix
ADD INDEX bp (b(3))
