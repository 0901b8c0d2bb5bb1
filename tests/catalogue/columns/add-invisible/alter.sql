-- an invisible column
ADD COLUMN c INT DEFAULT 5 INVISIBLE
