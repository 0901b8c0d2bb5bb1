-- NULL into NOT NULL, without strict mode
MODIFY c INT NOT NULL
