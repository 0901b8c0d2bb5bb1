-- an invisible column and its values stay
ADD COLUMN z INT
