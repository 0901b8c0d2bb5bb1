-- a NOT NULL ENUM without default gets its first member
ADD COLUMN c ENUM('x','y') NOT NULL
