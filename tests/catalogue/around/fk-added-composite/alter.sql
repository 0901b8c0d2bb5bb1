-- a foreign key of two columns is added, with NULLs in one of them
ADD FOREIGN KEY (px, py) REFERENCES p (x, y) ON UPDATE CASCADE
