-- a SET loses a member that a row has
MODIFY a SET('x','y')
