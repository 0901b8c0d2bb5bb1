-- without strict mode a smaller type for the key cuts two values to the same one
MODIFY id TINYINT NOT NULL
