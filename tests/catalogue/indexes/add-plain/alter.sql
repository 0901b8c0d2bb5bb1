-- an index is added
ADD INDEX ab (a, b)
