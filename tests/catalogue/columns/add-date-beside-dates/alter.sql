-- a new date that may not be zero, beside another
ADD COLUMN d DATE NOT NULL FIRST
