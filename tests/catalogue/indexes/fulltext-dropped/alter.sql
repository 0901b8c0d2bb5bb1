-- a FULLTEXT index is dropped
DROP KEY ft, MODIFY c VARCHAR(70)
