-- a new column with the default of the moment
ADD COLUMN z DATE NOT NULL DEFAULT (CURRENT_DATE)
