-- AUTO_INCREMENT is given to a key with a 0: the server renumbers it
MODIFY id INT NOT NULL AUTO_INCREMENT
