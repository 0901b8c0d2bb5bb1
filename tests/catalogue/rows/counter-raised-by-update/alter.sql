-- an UPDATE raises a number for a while, which moves no counter
ADD COLUMN x INT
