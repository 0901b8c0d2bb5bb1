-- the column under a FULLTEXT index is renamed
RENAME COLUMN b TO body
