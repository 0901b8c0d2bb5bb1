-- a default expression that reads another column
ADD COLUMN c INT DEFAULT (a + 1)
