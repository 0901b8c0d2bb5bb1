-- the key column moves to the end
MODIFY id INT NOT NULL AUTO_INCREMENT AFTER u
