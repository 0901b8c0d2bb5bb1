-- an invisible column
ADD COLUMN c INT INVISIBLE DEFAULT 5
