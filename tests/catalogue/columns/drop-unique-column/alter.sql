-- dropping the column of a unique key drops the key
DROP COLUMN u
