-- a member changes its case
MODIFY c ENUM('A','B')
