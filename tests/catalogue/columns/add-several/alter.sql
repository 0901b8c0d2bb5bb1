-- several columns in parentheses
ADD COLUMN (c INT, d VARCHAR(5) NOT NULL DEFAULT 'd', e DATE)
