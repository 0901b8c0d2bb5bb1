-- the integer key becomes a decimal
MODIFY id DECIMAL(20,2) NOT NULL
