-- a stored column is renamed and becomes a plain one
CHANGE s plain VARCHAR(40) NOT NULL DEFAULT ''
