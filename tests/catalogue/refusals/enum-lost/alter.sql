-- an ENUM loses a member that a row has
MODIFY a ENUM('x','y')
