-- the integer key becomes text
MODIFY id VARCHAR(20) NOT NULL
