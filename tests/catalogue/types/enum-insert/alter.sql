-- an ENUM gets a member at the front
MODIFY c ENUM('z','a','b')
