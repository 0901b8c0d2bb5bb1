-- the last number of a column is deleted after the copy, and the column becomes wider
MODIFY COLUMN id INT UNSIGNED NOT NULL AUTO_INCREMENT
