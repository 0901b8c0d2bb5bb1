-- an integer to an ENUM
MODIFY c ENUM('a','b','c')
