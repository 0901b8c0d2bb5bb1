-- a descending index
ADD INDEX d (a DESC, b)
