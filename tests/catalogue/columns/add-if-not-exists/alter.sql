-- a column that is there already
ADD COLUMN IF NOT EXISTS a INT, ADD COLUMN IF NOT EXISTS c INT
