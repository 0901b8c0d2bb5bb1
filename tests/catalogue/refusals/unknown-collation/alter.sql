-- a collation that is not there
MODIFY b VARCHAR(40) COLLATE nothing_ci
