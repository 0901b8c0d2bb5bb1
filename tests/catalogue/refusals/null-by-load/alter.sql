-- a NULL that the writes bring
MODIFY a INT NOT NULL
