-- an ENUM in the key has its error value and a member with the same text
ADD COLUMN z INT
