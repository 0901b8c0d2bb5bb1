-- the key column becomes unsigned
MODIFY id INT UNSIGNED NOT NULL AUTO_INCREMENT
