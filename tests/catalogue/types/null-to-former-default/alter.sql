-- NULLs in columns with a default that take none any more
MODIFY a INT NOT NULL, MODIFY b TIME NOT NULL, MODIFY c VARCHAR(9) NOT NULL, MODIFY d INT NOT NULL
