-- a FULLTEXT index over two columns becomes one over one
DROP KEY fbc, ADD FULLTEXT KEY fb (b)
