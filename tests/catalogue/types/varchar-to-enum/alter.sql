-- VARCHAR to ENUM
MODIFY c ENUM('a','bb')
