-- an ENUM in latin1 to utf8mb4
MODIFY c ENUM('ä','ö','ü') CHARACTER SET utf8mb4
