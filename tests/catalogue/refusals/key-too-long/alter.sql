-- an index that is too long
MODIFY b VARCHAR(4000), ADD INDEX (b)
