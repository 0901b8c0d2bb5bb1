-- names that contain one another
RENAME COLUMN id2 TO id3, RENAME COLUMN id TO id2
