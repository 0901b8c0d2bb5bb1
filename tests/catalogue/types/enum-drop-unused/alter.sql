-- an ENUM loses a member that no row has
MODIFY c ENUM('a','b')
