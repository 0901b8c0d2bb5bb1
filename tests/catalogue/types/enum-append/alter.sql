-- an ENUM gets members at the end
MODIFY c ENUM('a','b','c')
